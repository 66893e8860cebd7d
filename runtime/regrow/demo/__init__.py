"""The demonstration: the commands a person would type, run in order, and a page that shows what came out."""
