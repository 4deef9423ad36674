"""Predictions against measurements: validation, and the fitting of coefficients."""
