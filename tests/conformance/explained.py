"""Cases of the zoo that differ, the sentence of docs/warm-mode.md that tells users so, and what lines may differ.

One that no longer differs is a fault as well: then both the entry here and the sentence there are to go.
"""

from dataclasses import replace

from tests.conformance.compare import Explanation

_DEPTH = Explanation(
    sentence="The stack is two calls deeper, so a recursion that goes on to the limit ends two calls sooner.",
    lines=r"[-+](\d+|  \[Previous line repeated \d+ more times\])",
)
_STACK = Explanation(
    sentence="`faulthandler` shows one line more at the bottom of a stack, which names the worker's program.",
    lines=r'\+  File ".*/buildrunner/run/warm\.py", line \d+ in _live',
)
_WORDS = Explanation(
    sentence="`/proc/PID/cmdline` has the command line as one text, as `ps` shows it, and `/proc/PID/environ` what the "
    "worker was started with, the attempt's id aside; `sys.argv` and `os.environ` are what they should be.",
    lines=r"[-+]\[b'([^ ']*python('?, b'| )process_command_line\.py', b''|BLIS_NUM_THREADS', b'BUILDRUNNER_.*)\]",
)
_OURS = Explanation(
    sentence="Of ours, `gc.get_objects()` shows a few frames and one exception.",
    lines=r"-\[\] \[\]|\+\[('\w+'(, )?){1,6}\] \['Newborn'\]",
)
_ARGUMENTS = Explanation(
    sentence="`setproctitle` has no effect and `getproctitle()` gives `''`, because C's `Py_GetArgcArgv` gives the "
    "worker's arguments.",
    lines=r"-\['process_arguments_of_c\.py'\]|\+\['[^']*/warm\.py', ' +'\]",
)
_MESSAGES = Explanation(
    sentence="Messages of C's libraries and of the dynamic loader (`assert`, `err`, a symbol that is missing) begin "
    "with the whole command line, where those of a cold script begin with the name of Python "
    "(`program_invocation_name`).",
    lines=r"-[^ ]+: (err|undefined symbol: .*)|\+[^ ]+ lib_c_messages\.py: (err|undefined symbol: .*)",
)
_SUBINTERPRETERS = Explanation(
    sentence="A sub-interpreter's `sys.argv` and `sys.orig_argv` are the worker's.",
    lines=r"-\['thread_interpreters_argv\.py'\] True|\+\['[^']*/warm\.py', ' +'\] True",
)
_COUNTS = Explanation(
    sentence="The garbage collector does not look at what was there before the script: `gc.get_objects()` leaves that "
    "out, `gc.get_freeze_count()` counts it, and `sys.getrefcount()` of what everybody uses may be higher.",
    lines=r"[-+](2 \d 1|True \(\d+, 10, 10\) 0 \[\] \d+ \[\]|object refcount : \d|\['Mine'\] \d)",
)
_CYCLES = Explanation(
    sentence="Objects that die in reference cycles, or with a module, when the process ends may die in another order.",
    lines=r"[-+]del (a|_b|main|held by main|json|weakref).*",
    always=False,
)
_PROFILE = Explanation(
    sentence="A function left with `sys.setprofile` until the end sees a return of ours; from Python 3.12 on one left "
    "with `sys.settrace`, `sys.setprofile` or `sys.monitoring` is no longer called while Python ends.",
    lines=r"[-+].*",
    always=False,
)
_SHADOWS = Explanation(
    sentence="From Python 3.13 on an AttributeError of a module beside the script that has the name of one of Python's "
    "own does not advise to rename it.",
    lines=r"[-+]AttributeError: module 'threading' has no attribute '_shutdown'( \(consider renaming .*\))?",
    always=False,
)

EXPLAINED: dict[str, Explanation] = {
    "beside_threading": _SHADOWS,
    "del_held_by_stdlib_module": _CYCLES,
    "error_recursion": _DEPTH,
    "error_recursion_repeated": replace(
        _DEPTH, always=False, lines=r"[-+](  File .*error_recursion_repeated.py.*| +def f\(\): g\(\)| +[~^]+)"
    ),
    "lib_recursion_depth": _DEPTH,
    "lib_recursion_limit_set": _DEPTH,
    "lib_faulthandler": _STACK,
    "lib_faulthandler_later": _STACK,
    "lib_faulthandler_segfault": _STACK,
    "exit_segfault [odd]": _STACK,
    "process_command_line": _WORDS,
    "process_environ_shown": _WORDS,
    "beside_modules_globals_die": _CYCLES,
    "hook_profile_left_on": _PROFILE,
    "hook_trace_left_on": _PROFILE,
    "hook_monitoring_left_on": _PROFILE,
    "gc_state": _COUNTS,
    "gc_objects": _COUNTS,
    "sys_refcounts": _COUNTS,
    "sys_refcounts [odd]": _COUNTS,
    "streams_stderr_closed": _COUNTS,
    "gc_objects_of_ours": _OURS,
    "process_arguments_of_c": _ARGUMENTS,
    "lib_c_messages": _MESSAGES,
    "thread_interpreters_argv": _SUBINTERPRETERS,
}
