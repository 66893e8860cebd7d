"""The calibration service: bundles behind HTTP, what people taught them in one SQLite file, and a page.

Only this package may use FastAPI and its kin, and nothing outside imports it before a command asks for it.
"""
