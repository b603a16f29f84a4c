import contextvars
v = contextvars.ContextVar("v", default=1)
print(list(contextvars.copy_context()), v.get())
