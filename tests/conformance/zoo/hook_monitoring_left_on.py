import sys
if hasattr(sys, "monitoring"):
    tool = sys.monitoring
    tool.use_tool_id(0, "told")
    tool.register_callback(0, tool.events.PY_START, lambda code, offset: print(code.co_name, flush=True))
    tool.set_events(0, tool.events.PY_START)
def f(): return 1
f()
