"""The addresses under /v1: each turns a request into one operation and its result into an answer."""
