"""A traceback through modules beside the script."""
import broken
broken.f()
