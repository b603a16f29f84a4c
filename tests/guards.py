"""The guards are tested: each is taken out of a copy of the project, and its test must then fail.

A guard that no test would miss is no guard: the next tidy mind removes it. `make guards` runs all of this (some
minutes), or those whose names hold one of the words given; the tests see to it on every run that each text is still
there to be taken out, and each test still there to fail.
"""

import argparse
import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("buildrunner", "tests", "pyproject.toml")
DEADLINE = 180.0
"""Seconds that the test of one guard may take; one that hangs without its guard has noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What is taken out, and who must notice.

    `old`, which stands in `file` once, becomes `new`. `test` is `path::function`, perhaps with `[parameters]`, the
    function's name without `test_` and without scenarios' numbers, so that these may come and go.
    """

    name: str
    file: str
    old: str
    new: str
    test: str


GUARDS = (
    # the record
    Guard(
        name="a receipt changes its job only while its attempt is the current one",
        file="buildrunner/ledger/__init__.py",
        old="""lost = lost + ? WHERE id = ? AND state = 'running' AND attempt = ?",
            (state.value, lost, job, receipt.attempt),""",
        new="""lost = lost + ? WHERE id = ? AND state = 'running'",
            (state.value, lost, job),""",
        test="tests/contract/test_ledger.py::a_receipt_of_an_attempt_that_is_not_current_changes_nothing",
    ),
    Guard(
        name="a receipt changes nothing once its job is decided",
        file="buildrunner/ledger/__init__.py",
        old="""lost = lost + ? WHERE id = ? AND state = 'running' AND attempt = ?",
            (state.value, lost, job, receipt.attempt),""",
        new="""lost = lost + ? WHERE id = ? AND attempt = ?",
            (state.value, lost, job, receipt.attempt),""",
        test="tests/contract/test_ledger.py::a_receipt_for_a_job_that_is_decided_changes_nothing",
    ),
    Guard(
        name="a receipt that is there is not written over",
        file="buildrunner/ledger/__init__.py",
        old='"INSERT OR IGNORE INTO receipts',
        new='"INSERT OR REPLACE INTO receipts',
        test="tests/contract/test_ledger.py::the_same_receipt_twice_is_the_same_as_once",
    ),
    Guard(
        name="an attempt that is not current cannot be given back",
        file="buildrunner/ledger/__init__.py",
        old="""attempts = attempts - 1 "
            "WHERE id = ? AND state = 'running' AND attempt = ?",
            (job, attempt),""",
        new="""attempts = attempts - 1 "
            "WHERE id = ? AND state = 'running'",
            (job,),""",
        test="tests/contract/test_ledger.py::giving_back_an_earlier_attempt_leaves_the_one_that_runs_alone",
    ),
    Guard(
        name="a receipt's checksum is compared",
        file="buildrunner/ledger/check.py",
        old="if job is not None and receipt.checksum() != checksum:",
        new="if False:",
        test="tests/contract/test_ledger_check.py::an_edit_is_found_and_its_place_named[an exit code]",
    ),
    Guard(
        name="one process writes a ledger at a time",
        file="buildrunner/ledger/lock.py",
        old="        fcntl.flock(fd, kind | fcntl.LOCK_NB)\n",
        new="        fcntl.fcntl(fd, fcntl.F_GETFD)\n",
        test="tests/contract/test_ledger_files.py::another_process_is_refused_and_told_who_writes",
    ),
    Guard(
        name="what is half done in a transaction is undone",
        file="buildrunner/ledger/writing.py",
        old='                self.db.execute("ROLLBACK")',
        new='                self.db.execute("COMMIT")',
        test="tests/contract/test_ledger.py::what_fails_in_the_middle_leaves_nothing",
    ),
    Guard(
        name="no look at the ledger's file ends the locks on it",
        file="buildrunner/ledger/store.py",
        old="        own = _owner_without_log(uri)",
        new="""        with open(path, "rb"):
            own = _owner_without_log(uri)""",
        test="tests/fault/test_ledger_faults.py::a_foreign_lock_is_waited_for",
    ),
    Guard(
        name="a run that is not whole is not carried on",
        file="buildrunner/server.py",
        old='        require_whole(ledger, run, cannot="be carried on")',
        new="",
        test="tests/contract/test_recover.py::a_run_that_is_not_whole_is_not_carried_on_or_packaged",
    ),
    Guard(
        name="a folder that is gone fails no script",
        file="buildrunner/loop.py",
        old="(why := self._find_fault(job.spec, receipt))",
        new='(why := "")',
        test="tests/fault/test_places.py::the_scripts_folder_is_moved_away",
    ),
    Guard(
        name="nothing is written in the place of a disk that is gone",
        file="buildrunner/run/attempt.py",
        old="    os.lstat(os.path.join(os.path.dirname(folder), LOCK))\n",
        new="",
        test="tests/fault/test_places.py::no_folder_is_made_in_the_place_of_a_disk_that_is_gone",
    ),
    Guard(
        name="who lost sight of its outputs is undecided",
        file="buildrunner/run/attempt.py",
        old="            if os.path.isdir(os.path.dirname(output_dir)):",
        new="            if True:",
        test="tests/fault/test_places.py::the_disk_of_the_output_folder_is_gone[disk/out]",
    ),
    Guard(
        name="no zip is sealed over an output folder that was removed",
        file="buildrunner/session.py",
        old='if loop.state == "finished" and (gone := workplace.of_outputs() or workplace.of_way()):',
        new='if loop.state == "finished" and (gone := ""):',
        test="tests/fault/test_places.py::an_output_folder_that_only_looks_like_the_old_one_is_not_packaged",
    ),
    Guard(
        name="what a lost attempt left makes way",
        file="buildrunner/outputfolder.py",
        old="            self._remove_outputs(name)\n        owners",
        new="            pass\n        owners",
        test="tests/fault/test_sessions.py::what_an_attempt_left_that_the_record_lost_is_in_nobodys_way",
    ),
    Guard(
        name="what left its session is ended with its attempt",
        file="buildrunner/run/attempt.py",
        old="            self.group.end(self.own_pid)  # what left its session",
        new="            pass",
        test="tests/fault/test_trees.py::what_hides_its_environment_dies_with_its_attempt",
    ),
    Guard(
        name="a worker's journal names its control group",
        file="buildrunner/run/worker.py",
        old='self.note("group", path)',
        new="pass",
        test="tests/fault/test_trees.py::what_hides_dies_after_its_server_was_killed",
    ),
    Guard(
        name="memory that processes share is counted once",
        file="buildrunner/run/limits.py",
        old="used = sum(map(_proportional, self.members()))",
        new="pass",
        test="tests/unit/test_limits.py::what_processes_share_is_counted_once",
    ),
    Guard(
        name="an attempt is committed before it is handed out",
        file="buildrunner/loop.py",
        old="""
        for worker, assignments in batches.items():
            self._pool.send(worker, assignments)
""",
        new="""
            for worker, assignments in batches.items():
                self._pool.send(worker, assignments)
""",
        test="tests/contract/test_loop.py::an_attempt_is_committed_before_it_is_handed_out",
    ),
    Guard(
        name="a result is committed before anybody hears of it",
        file="buildrunner/loop.py",
        old="                self._fill(batches)\n",
        new="                self._fill(batches)\n            self._tell()\n",
        test="tests/contract/test_loop.py::a_result_is_committed_before_anybody_hears_of_it",
    ),
    Guard(
        name="who reads does not take an older run for the newest when that is lost",
        file="buildrunner/ledger/reader.py",
        old="            store.refuse_lost(state, folders, db)\n",
        new="",
        test="tests/fault/test_damaged_record.py::a_missing_log_is_told",
    ),
    Guard(
        name="nothing is written to a ledger that lost a run",
        file="buildrunner/ledger/store.py",
        old="                refuse_lost(state, folders, db)\n",
        new="                pass\n",
        test="tests/fault/test_damaged_record.py::a_missing_log_is_told",
    ),
    Guard(
        name="what is forgotten meanwhile is not taken for lost",
        file="buildrunner/ledger/journals.py",
        old="for name in unknown if folder(state, name).is_dir())",
        new="for name in unknown)",
        test="tests/contract/test_forgetting.py::what_was_forgotten_meanwhile_is_not_lost",
    ),
    Guard(
        name="a run's journals go before its rows",
        file="buildrunner/ledger/__init__.py",
        old="if not spare(run) and journals.remove(self.state, run.name)]",
        new="if not spare(run)]",
        test="tests/contract/test_forgetting.py::a_runs_journals_go_before_its_rows",
    ),
    Guard(
        name="a run is safe on the disk before its folder is made",
        file="buildrunner/ledger/writing.py",
        old='self.db.execute("PRAGMA synchronous = FULL")',
        new="pass",
        test="tests/fault/test_ledger_faults.py::a_disk_that_does_not_confirm_is_never_believed",
    ),
    # the journals
    Guard(
        name="a journal's line carries its checksum",
        file="buildrunner/run/wire.py",
        old="        if int(line[:8], 16) != crc32(payload):\n            return None\n",
        new="        int(line[:8], 16)\n",
        test="tests/unit/test_wire.py::a_line_with_any_other_byte_anywhere_is_none_or_says_the_same",
    ),
    Guard(
        name="a receipt lies in the journal before it is sent",
        file="buildrunner/run/worker.py",
        old='            if not self.note("end", receipt):\n                return\n            wire.write_frame(',
        new="            wire.write_frame(",
        test="tests/fault/test_start.py::a_receipt_lies_in_the_journal_before_it_is_sent",
    ),
    Guard(
        name="an attempt's start lies in the journal",
        file="buildrunner/run/worker.py",
        old="""            if not self.note("start", assignment[0], assignment[1], time.time()):
                return
""",
        new="",
        test="tests/fault/test_start.py::a_receipt_lies_in_the_journal_before_it_is_sent",
    ),
    # the script
    Guard(
        name="a script leads a session of its own",
        file="buildrunner/run/attempt.py",
        old="                setsid=True,\n",
        new="                setpgroup=0,\n",
        test="tests/fault/test_start.py::a_script_leads_a_session_of_its_own[cold]",
    ),
    Guard(
        name="a script has default signal handlers",
        file="buildrunner/run/attempt.py",
        old="                setsigdef=_SIGNALS,\n",
        new="                setsigdef=(),\n",
        test="tests/fault/test_start.py::signals_are_the_scripts_own_whatever_buildrunner_inherited[cold]",
    ),
    Guard(
        name="a script has an empty signal mask",
        file="buildrunner/run/attempt.py",
        old="                setsigmask=(),\n",
        new="",
        test="tests/fault/test_start.py::signals_are_the_scripts_own_whatever_buildrunner_inherited[cold]",
    ),
    Guard(
        name="a script inherits no descriptor",
        file="buildrunner/run/worker.py",
        old="        os.closerange(max(3, self.queue + 1), 1 << 20)",
        new="        os.closerange(3, 3)",
        test="tests/fault/test_start.py::no_descriptor_of_whoever_started_buildrunner_reaches_a_script[cold]",
    ),
    Guard(
        name="a log is appended to",
        file="buildrunner/run/attempt.py",
        old=" | os.O_TRUNC | os.O_APPEND\n",
        new=" | os.O_TRUNC\n",
        test="tests/fault/test_start.py::what_a_script_opens_anew_as_its_output_overwrites_nothing",
    ),
    Guard(
        name="a script's group is killed when the script has ended",
        file="buildrunner/run/attempt.py",
        old="        self._signal(_signal.SIGKILL)\n        _, status, usage",
        new="        _, status, usage",
        test="tests/fault/test_start.py::a_grandchild_without_an_environment_is_gone_when_its_script_is",
    ),
    Guard(
        name="what left a script's group comes to the server, and ends",
        file="buildrunner/processes.py",
        old="        _become_subreaper(True)\n",
        new="",
        test="tests/fault/test_workers.py::a_daemon_in_a_session_of_its_own_outlives_neither_attempt_nor_run",
    ),
    Guard(
        name="a worker kills its script when its server is gone",
        file="buildrunner/run/worker.py",
        old='            worker.slot.stop("cancelled", 0)\n            worker.leave()',
        new="            worker.leave()",
        test="tests/fault/test_server.py::a_killed_server_takes_everything_along_and_resume_does_the_rest",
    ),
    # what is delivered and shown
    Guard(
        name="a zip is safe on the disk before it takes its place",
        file="buildrunner/destination.py",
        old="            os.fsync(file.fileno())\n",
        new="",
        test="tests/unit/test_destination.py::what_is_written_is_safe_on_the_disk_before_it_takes_its_place",
    ),
    Guard(
        name="what changes while it is packaged stops it",
        file="buildrunner/package.py",
        old="    if digest.hexdigest() != entry.sha256:\n        raise",
        new="    if False:\n        raise",
        test="tests/contract/test_package.py::what_changes_while_it_is_packaged_stops_it",
    ),
    Guard(
        name="the zip's seal is checked",
        file="buildrunner/package.py",
        old="problems = [] if _seal_holds(file) else",
        new="problems = [] if file else",
        test="tests/contract/test_verify.py::the_seal_of_this_test_holds",
    ),
    Guard(
        name="no entry of a zip leads out of its folder",
        file="buildrunner/package.py",
        old=""" or ".." in info.filename.split("/")""",
        new="",
        test="tests/contract/test_verify.py::an_entry_that_leads_outside_or_is_a_link_is_a_problem[../x]",
    ),
    Guard(
        name="no time in a zip is before 1980",
        file="buildrunner/package.py",
        old="t = time.gmtime(min(max(seconds, _DOS_EPOCH), _DOS_END))",
        new="t = time.gmtime(seconds)",
        test="tests/acceptance/test_bad_input.py::times_before_any_zip_knows",
    ),
    Guard(
        name="a script that was changed meanwhile is named",
        file="buildrunner/edits.py",
        old='        return "changed" if is_other or about.st_mtime > self._since else ""',
        new='        return ""',
        test="tests/acceptance/test_bad_input.py::deleted_or_changed_after_the_scan",
    ),
    Guard(
        name="scripts beside the program are no modules of it",
        file="buildrunner/__main__.py",
        old="        del sys.path[0]",
        new="        pass",
        test="tests/acceptance/test_bad_input.py::scripts_named_like_modules_are_nobodys_modules_but_their_neighbours",
    ),
    Guard(
        name="what is shown moves no cursor",
        file="buildrunner/naming.py",
        old="    if text.isprintable():\n        return text\n",
        new="    return text\n",
        test="tests/acceptance/test_run_screen.py::no_terminal_gets_a_scripts_escapes",
    ),
    Guard(
        name="an error shows what was typed and does not do it",
        file="buildrunner/cli/__init__.py",
        old='click.echo(f"buildrunner: {display(sentence)}", err=True)',
        new='click.echo(f"buildrunner: {sentence}", err=True)',
        test="tests/acceptance/test_hostile.py::no_error_lets_anything_through",
    ),
    Guard(
        name="nothing but ours is a workflow command",
        file="buildrunner/reports/github.py",
        old="""    return _COLONS.sub(r"\\1\\\\u003a", _BRACKET.sub(r"\\1\\\\u005b", text))""",
        new="    return text",
        test="tests/acceptance/test_github.py::no_line_is_a_command_once_it_is_inert",
    ),
    Guard(
        name="no cell of a table is a formula",
        file="buildrunner/reports/export.py",
        old="""    return f"'{value}" if value.startswith(_FORMULA) else value""",
        new="    return value",
        test="tests/acceptance/test_ledger_verbs.py::csv_loses_nothing_and_starts_no_formula",
    ),
    Guard(
        name="a zip's manifest goes to the disk as it is made",
        file="buildrunner/packing.py",
        old='file.writelines(part.encode("ascii") for part in parts)',
        new='file.write("".join(parts).encode("ascii"))',
        test="tests/unit/test_packing.py::memory_does_not_grow_with_the_number_of_files",
    ),
    Guard(
        name="entries of a zip are not kept in memory",
        file="buildrunner/packing.py",
        old="info: zipfile.ZipInfo) -> None:\n        pass",
        new="info: zipfile.ZipInfo) -> None:\n        super().__setitem__(name, info)",
        test="tests/unit/test_packing.py::memory_does_not_grow_with_the_number_of_files",
    ),
    # warm mode
    Guard(
        name="a script with a variable of its own that Python reads when it starts is started cold",
        file="buildrunner/run/fork.py",
        old="            if is_read and not name.startswith(_OURS) and os.environ.get(name) != value:",
        new="            if False:",
        test="tests/contract/test_warm.py::what_is_started_cold_has_nothing_of_its_workers",
    ),
    Guard(
        name="a script with a variable of its own that a preloaded module has read is started cold",
        file="buildrunner/run/fork.py",
        old=" or name in self.original.variables",
        new="",
        test="tests/contract/test_warm.py::what_is_started_cold_has_nothing_of_its_workers",
    ),
    Guard(
        name="a script whose Python is given options is started cold",
        file="buildrunner/run/fork.py",
        old=' or argv[1].startswith("-")',
        new="",
        test="tests/contract/test_warm.py::what_is_started_cold_has_nothing_of_its_workers",
    ),
    Guard(
        name="a worker's queue is no business of a script",
        file="buildrunner/run/warm.py",
        old="    os.set_inheritable(QUEUE, False)\n",
        new="",
        test="tests/contract/test_warm.py::what_is_started_cold_has_nothing_of_its_workers",
    ),
    Guard(
        name="a warm script inherits no descriptor",
        file="buildrunner/run/fork.py",
        old="        os.closerange(3, self.writer)\n        os.closerange(self.writer + 1, _MOST_DESCRIPTORS)\n",
        new="",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[beginning]",
    ),
    Guard(
        name="a Python that cannot be shared has an ordinary worker take its place",
        file="buildrunner/pool.py",
        old="if w.warm and not (journal.started or lost) and not os.path.exists(w.journal):",
        new="if False:",
        test="tests/contract/test_warm.py::a_python_that_cannot_be_shared_runs_every_script_cold_and_says_why",
    ),
    Guard(
        name="a Python that has threads as soon as it starts is not shared",
        file="buildrunner/run/warm.py",
        old="    if threads > 1:",
        new="    if False:",
        test="tests/contract/test_warm.py::a_python_that_cannot_be_shared_runs_every_script_cold_and_says_why",
    ),
    Guard(
        name="a Python that shows who runs a script is not shared",
        file="buildrunner/run/warm.py",
        old="if not hidden.is_hiding():",
        new="if False:",
        test="tests/contract/test_warm.py::a_python_that_cannot_be_shared_runs_every_script_cold_and_says_why",
    ),
    Guard(
        name="a module that leaves a thread is not preloaded",
        file="buildrunner/run/preload.py",
        old='        f"leaves a thread running, {_FORKS}": _threads(),\n',
        new="",
        test="tests/acceptance/test_preload.py::what_would_not_survive_a_fork_is_left_out",
    ),
    Guard(
        name="a module that leaves a process is not preloaded",
        file="buildrunner/run/preload.py",
        old='        f"leaves a process running, {_FORKS}": _has_children(),\n',
        new="",
        test="tests/acceptance/test_preload.py::what_would_not_survive_a_fork_is_left_out",
    ),
    Guard(
        name="a module that leaves something open is not preloaded",
        file="buildrunner/run/preload.py",
        old='        "leaves open": _open(),\n',
        new="",
        test="tests/acceptance/test_preload.py::what_would_not_survive_a_fork_is_left_out",
    ),
    Guard(
        name="a module that changes what signals do is not preloaded",
        file="buildrunner/run/preload.py",
        old="        if was == now:",
        new='        if was == now or what == "changes what signals do":',
        test="tests/acceptance/test_preload.py::what_would_not_survive_a_fork_is_left_out",
    ),
    Guard(
        name="a module that draws from the system's randomness is not preloaded",
        file="buildrunner/run/preload.py",
        old="    if why is None and (took := witness.took()):",
        new="    if took := None:",
        test="tests/acceptance/test_preload.py::what_would_not_survive_a_fork_is_left_out",
    ),
    Guard(
        name="a module that draws from a global generator is not preloaded",
        file="buildrunner/run/preload.py",
        old="    if why is None and witness.draws():",
        new="    if False:",
        test="tests/acceptance/test_preload.py::what_would_not_survive_a_fork_is_left_out",
    ),
    Guard(
        name="a module that reads what each attempt has its own of is not preloaded",
        file="buildrunner/run/preload.py",
        old="    if why is None and not variables.read.isdisjoint(_OF_AN_ATTEMPT):",
        new="    if False:",
        test="tests/acceptance/test_preload.py::what_would_not_survive_a_fork_is_left_out",
    ),
    Guard(
        name="a module that looks into __main__ is not preloaded",
        file="buildrunner/run/preload.py",
        old="            _Main.was_read = True\n",
        new="            pass\n",
        test="tests/acceptance/test_preload.py::what_would_not_survive_a_fork_is_left_out",
    ),
    Guard(
        name="a module that asks for the frame of who imports it is not preloaded",
        file="buildrunner/run/preload.py",
        old="    if why is None and was_reached:",
        new="    if False:",
        test="tests/acceptance/test_preload.py::what_would_not_survive_a_fork_is_left_out",
    ),
    Guard(
        name="a module that looks at its process in /proc is not preloaded",
        file="buildrunner/run/preload.py",
        old="return what if _names_itself(frame) else None",
        new="return None",
        test="tests/acceptance/test_preload.py::what_would_not_survive_a_fork_is_left_out",
    ),
    Guard(
        name="where scripts run elsewhere modules are imported elsewhere",
        file="buildrunner/run/preload.py",
        old='        os.chdir("/")\n',
        new="        pass\n",
        test="tests/acceptance/test_preload.py::where_scripts_run_elsewhere_no_file_of_this_folder_is_read_for_them",
    ),
    Guard(
        name="what scripts put first in sys.path keeps a module of its name out",
        file="buildrunner/preloading.py",
        old="for folders, what in ((ahead, _AHEAD), (beside, _BESIDE)):",
        new="for folders, what in ((beside, _BESIDE),):",
        test="tests/unit/test_preloading.py::a_folder_that_scripts_put_in_front_keeps_out_what_it_holds",
    ),
    Guard(
        name="an import in which a process ended once is tried again",
        file="buildrunner/preloading.py",
        old="            doubtful.add(name)\n",
        new="            known[name] = found\n",
        test="tests/unit/test_preloading.py::an_import_in_which_a_process_ended_once_is_tried_again_by_one_worker",
    ),
    Guard(
        name="every script seeds the generators anew that were preloaded",
        file="buildrunner/run/fork.py",
        old="        for renew, module in self.original.renewals:\n            renew(module)\n",
        new="",
        test="tests/acceptance/test_preload.py::every_script_draws_numbers_of_its_own",
    ),
    Guard(
        name="an import that hangs is given up",
        file="buildrunner/run/preload.py",
        old="    _signal.alarm(LONGEST)\n",
        new="",
        test="tests/acceptance/test_preload.py::an_import_that_hangs_is_given_up",
    ),
    Guard(
        name="a worker outlives the limit of its imports",
        file="buildrunner/run/preload.py",
        old="    _signal.alarm(0)\n",
        new="",
        test="tests/contract/test_warm.py::a_worker_outlives_the_time_that_its_imports_may_take",
    ),
    Guard(
        name="a script beside a file of a preloaded module's name is started cold",
        file="buildrunner/run/fork.py",
        old='        return self.original.shadows.of(argv[1] if cwd is None else f"{cwd}/{argv[1]}")',
        new="        return None",
        test="tests/acceptance/test_preload.py::nothing_is_used_that_the_scripts_folder_shadows",
    ),
    Guard(
        name="a folder that was written to just now is looked at again",
        file="buildrunner/run/shadow.py",
        old=" or time.time() - about.st_mtime < RESTED",
        new="",
        test="tests/contract/test_warm.py::a_folder_that_was_written_to_just_now_is_looked_at_again",
    ),
    Guard(
        name="a module that is not what it was is asked again",
        file="buildrunner/preloading.py",
        old="if _written(found.file) != found.written or why",
        new="if why",
        test="tests/unit/test_preloading.py::what_is_known_holds_as_long_as_the_module_is_what_it_was",
    ),
    Guard(
        name="an object with a finalizer has its say at a warm script's end",
        file="buildrunner/run/ending.py",
        old="is_simple(before) and is_silent((before.library, *known_folders()), Newborn)",
        new="is_simple(before)",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[end]",
    ),
    Guard(
        name="a weak reference's callback is called at a warm script's end",
        file="buildrunner/run/leftover.py",
        old="        return all(_is_tidying(",
        new="        return True or all(_is_tidying(",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[end]",
    ),
    Guard(
        name="a warm script's output that cannot be written is its exit code",
        file="buildrunner/run/ending.py",
        old="        except BaseException:\n            return False\n    return True",
        new="        except BaseException:\n            pass\n    return True",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[end]",
    ),
    Guard(
        name="what a warm script has registered is called at its end",
        file="buildrunner/run/ending.py",
        old="        _run_exitfuncs()\n",
        new="",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[end]",
    ),
    Guard(
        name="a warm script's threads are waited for",
        file="buildrunner/run/ending.py",
        old="            threading._shutdown()\n",
        new="            pass\n",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[end]",
    ),
    Guard(
        name="what C has buffered is written at a warm script's end",
        file="buildrunner/run/ending.py",
        old="        self.leave = self.exit\n",
        new="",
        test="tests/acceptance/test_preload.py::what_c_has_buffered_is_written_at_the_end",
    ),
    Guard(
        name="a warm script that was interrupted ends by that signal",
        file="buildrunner/run/ending.py",
        old="            os.kill(os.getpid(), _signal.SIGINT)\n",
        new="            pass\n",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[end]",
    ),
    Guard(
        name="a script that froze the collector itself ends as ever",
        file="buildrunner/run/leftover.py",
        old="    if mark is not None and id(mark) not in kinds:",
        new="    if False:",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[end]",
    ),
    Guard(
        name="no object of a script's is asked what it is at its end",
        file="buildrunner/run/leftover.py",
        old="            if issubclass(type(kind), type) and",
        new="            if isinstance(kind, type) and",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[end]",
    ),
    Guard(
        name="what goes wrong in looking at what a script left is not its failure",
        file="buildrunner/run/ending.py",
        old="Newborn)\n    except BaseException:\n        return False",
        new="Newborn)\n    except ZeroDivisionError:\n        return False",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[end]",
    ),
    Guard(
        name="a process that only begins its program is recognized by its environment",
        file="buildrunner/processes.py",
        old=" and _is_in_exec(pid) and",
        new=" and False and",
        test="tests/fault/test_trees.py::what_only_begins_its_program_is_seen_by_its_environment",
    ),
    Guard(
        name="what a worker has imported for itself is not there for a script",
        file="buildrunner/run/fork.py",
        old="        for name in self.imported:\n            del sys.modules[name]\n",
        new="",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[beginning]",
    ),
    Guard(
        name="a script is warned of itself, and not its worker",
        file="buildrunner/run/fork.py",
        old="        return None  # the child shall be warned of it, not we",
        new="        return script",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[beginning]",
    ),
    Guard(
        name="what a script is warned of is there once when it is started cold after all",
        file="buildrunner/run/fork.py",
        old="            os.ftruncate(2, 0)  # what was warned of comes again\n",
        new="",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[beginning]",
    ),
    Guard(
        name="a warm script leads a session of its own",
        file="buildrunner/run/fork.py",
        old="        os.setsid()\n",
        new="        os.setpgid(0, 0)\n",
        test="tests/conformance/test_zoo.py::what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold[beginning]",
    ),
    Guard(
        name="a script that leads no session yet can be ended",
        file="buildrunner/run/fork.py",
        old="                os.kill(self.pid, number)  # it has no session of its own yet",
        new="                pass",
        test="tests/contract/test_warm.py::a_script_that_leads_no_session_yet_can_be_ended",
    ),
    Guard(
        name="a worker is looked at after every warm script, however short",
        file="buildrunner/run/warm.py",
        old="        time_enough = 0.0\n",
        new="",
        test="tests/contract/test_warm.py::a_worker_is_looked_at_after_every_script_however_short",
    ),
    Guard(
        name="what a worker took to compile is not another script's peak",
        file="buildrunner/run/fork.py",
        old="        self.own_rss = 0  # to compile",
        new="        pass  # to compile",
        test="tests/fault/test_workers.py::peak_memory_is_neither_the_workers_nor_a_siblings",
    ),
    Guard(
        name="a warm script's peak is its own",
        file="buildrunner/run/fork.py",
        old='return measured if self.mode == "warm" else super()._true_rss(measured)',
        new="return super()._true_rss(measured)",
        test="tests/fault/test_workers.py::peak_memory_is_neither_the_workers_nor_a_siblings",
    ),
    # what is kept and expected of a run
    Guard(
        name="what is kept of a run is compared with what its receipts say",
        file="buildrunner/ledger/figures.py",
        old="    if found and not _same(found, counted(db, run)):",
        new="    if False:",
        test="tests/contract/test_ledger.py::what_a_run_comes_to_is_kept_until_it_goes_on",
    ),
    Guard(
        name="nothing is kept of a run that goes on",
        file="buildrunner/ledger/figures.py",
        old='    db.execute("DELETE FROM figures WHERE run = ?", (run,))',
        new="    pass",
        test="tests/contract/test_ledger.py::what_a_run_comes_to_is_kept_until_it_goes_on",
    ),
    Guard(
        name="a rule must beat the median by a tenth",
        file="buildrunner/estimate.py",
        old="error[rule] < _BETTER * usual[rule]",
        new="error[rule] < usual[rule]",
        test="tests/unit/test_estimate.py::a_rule_is_believed_when_it_is_off_by_a_tenth_less_than_the_median",
    ),
)


def test_functions(file: Path) -> dict[str, str]:
    """The test functions of a file, by their names without `test_` and without scenarios' numbers."""
    names = [
        node.name
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    return {re.sub(r"(?:s\d\d_)*", "", name.removeprefix("test_"), count=1): name for name in names}


def node_id(guard: Guard, root: Path = ROOT) -> str | None:
    """The guard's test as pytest calls it; None when there is no such test."""
    path, _, rest = guard.test.partition("::")
    name, bracket, parameters = rest.partition("[")
    if not (root / path).is_file() or (found := test_functions(root / path).get(name)) is None:
        return None
    return f"{path}::{found}{bracket}{parameters}"


def faults(guard: Guard, root: Path = ROOT) -> list[str]:
    """Why the guard cannot be tested any more: its text has changed, or its test is gone."""
    found = []
    file = root / guard.file
    times = file.read_text(encoding="utf-8").count(guard.old) if file.is_file() else 0
    if times != 1:
        found.append(f"its text stands {times} times in {guard.file}, and must stand there once")
    if node_id(guard, root) is None:
        found.append(f"there is no test {guard.test}")
    return found


def copy_project(to: Path) -> None:
    """What the tests need of the project, and nothing that a run left there."""
    to.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, to / name)


def take_out(guard: Guard, root: Path) -> None:
    """Make the copy a project without this guard."""
    file = root / guard.file
    text = file.read_text(encoding="utf-8")
    assert text.count(guard.old) == 1
    changed = text.replace(guard.old, guard.new)
    ast.parse(changed)  # a test that fails because nothing can be imported has noticed nothing
    file.write_text(changed, encoding="utf-8")


def run_tests(project: Path, tests: Iterable[str]) -> tuple[str, str]:
    """`passed`, `failed` or what else became of them, and the end of what pytest said."""
    here = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHON", "BUILDRUNNER_"))}
    command = [
        sys.executable, "-B", "-m", "pytest", "-n", "0", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider",
        f"--timeout={DEADLINE / 3:g}", f"--basetemp={project / 'tmp'}", *tests,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=project, env=here, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return "failed", said + f"\nit did not end within {DEADLINE:g} s"
    names = {0: "passed", 1: "failed" if re.search(r"\d+ failed", said) else "broken"}
    return names.get(process.returncode, "broken"), said


def prove_copy(project: Path) -> None:
    """Make sure that it is the copy that is tested, and not the project beside it."""
    asked = [sys.executable, "-B", "-c", "import buildrunner; print(buildrunner.__file__)"]
    found = subprocess.run(asked, cwd=project, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(found).is_relative_to(project), found


def check(guard: Guard, folder: Path) -> tuple[str, str]:
    """What becomes of a guard's test without the guard: `noticed`, `SURVIVED` or another word, and what was said."""
    if why := faults(guard):
        return "CANNOT BE TAKEN OUT", "; ".join(why)
    copy_project(folder)
    take_out(guard, folder)
    prove_copy(folder)
    test = node_id(guard)
    assert test
    result, said = run_tests(folder, [test])
    shutil.rmtree(folder, ignore_errors=True)
    return {"failed": "noticed", "passed": "SURVIVED"}.get(result, "BROKEN"), said


def main(words: Iterable[str] = (), *, jobs: int = 2, say: Callable[[str], None] = print) -> int:
    """Take the guards out one by one; 0 when each was missed, 1 when one was not or can no longer be taken out."""
    chosen = [guard for guard in GUARDS if not list(words) or any(word in guard.name for word in words)]
    if not chosen:
        say("no guard has such a name")
        return 2
    bad = 0
    with tempfile.TemporaryDirectory(prefix="guards-", ignore_cleanup_errors=True) as folder:
        whole = Path(folder, "whole")
        copy_project(whole)
        prove_copy(whole)
        began = time.monotonic()
        tests = sorted({test for guard in chosen if (test := node_id(guard))})
        result, said = run_tests(whole, tests)
        say(f"{'with every guard':72} {result}, {time.monotonic() - began:.1f} s")
        if result != "passed":
            say(said[-4000:])
            return 1

        def one(number: int) -> tuple[Guard, str, str, float]:
            began = time.monotonic()
            return chosen[number], *check(chosen[number], Path(folder, str(number))), time.monotonic() - began

        with ThreadPoolExecutor(jobs) as pool:
            for guard, result, said, seconds in pool.map(one, range(len(chosen))):
                say(f"{guard.name:72} {result}, {seconds:.1f} s")
                if result != "noticed":
                    bad += 1
                    say(f"    {guard.test}\n" + said[-2000:])
    say(f"{len(chosen) - bad} of {len(chosen)} guards are missed by their tests")
    return 1 if bad else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only guards whose names hold one of these")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="how many at a time")
    options = parser.parse_args()
    sys.exit(main(options.words, jobs=options.jobs))
