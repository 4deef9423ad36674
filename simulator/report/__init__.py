"""Reports: what a simulation found, for terminals, people and programs; no physics is computed here."""
