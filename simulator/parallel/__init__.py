"""One step on many devices: how work is dealt to them, and what they exchange."""
