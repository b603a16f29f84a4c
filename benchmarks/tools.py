"""What one would write to run scripts with some tool from Python: `python tools.py TOOL WIDTH PYTHON <list`.

The list is paths, each ended by a zero byte; WIDTH at a time, what a script says goes to o/NAME.out and o/NAME.err.
Runs under the Python that has the tool, which need not be the scripts' own: nothing of buildrunner is imported here.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path


def run(python: str, path: str) -> int:
    """Run one script; its exit code."""
    name = os.path.basename(path)
    with open(f"o/{name}.out", "wb") as out, open(f"o/{name}.err", "wb") as err:
        return subprocess.run([python, path], stdin=subprocess.DEVNULL, stdout=out, stderr=err).returncode


def threads(width: int, python: str, paths: list[str]) -> bool:
    """`concurrent.futures.ThreadPoolExecutor`."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(width) as pool:
        return not any(pool.map(partial(run, python), paths))


def processes(width: int, python: str, paths: list[str]) -> bool:
    """`multiprocessing.Pool`."""
    from multiprocessing import Pool

    with Pool(width) as pool:
        return not any(pool.imap_unordered(partial(run, python), paths))


def joblib(width: int, python: str, paths: list[str]) -> bool:
    """joblib, with the processes it makes by itself."""
    from joblib import Parallel, delayed

    return not any(Parallel(n_jobs=width)(delayed(run)(python, path) for path in paths))


def distributed(width: int, python: str, paths: list[str]) -> bool:
    """dask.distributed, its scheduler and workers as processes of this computer."""
    from distributed import Client, LocalCluster

    options = {"n_workers": width, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        return not any(client.gather(client.map(partial(run, python), paths, pure=False)))


def luigi(width: int, python: str, paths: list[str]) -> bool:
    """luigi with its local scheduler; a script is done when its output is there."""
    import luigi

    class Script(luigi.Task):
        path = luigi.Parameter()

        def run(self) -> None:
            if run(python, self.path):
                raise RuntimeError(self.path)

        def output(self) -> luigi.LocalTarget:
            return luigi.LocalTarget(f"o/{os.path.basename(self.path)}.out")

    return luigi.build([Script(path) for path in paths], workers=width, local_scheduler=True, log_level="ERROR")


def doit(width: int, python: str, paths: list[str]) -> bool:
    """doit, a task a script."""
    Path("list").write_text("\n".join(paths))
    Path("dodo.py").write_text(
        "import os\n"
        "def task_script():\n"
        "    for path in open('list').read().split():\n"
        "        name = os.path.basename(path)\n"
        f"        command = [{python!r} + ' ' + path + ' >o/' + name + '.out 2>o/' + name + '.err']\n"
        "        yield {'name': name, 'actions': command}\n"
    )
    os.execv(sys.executable, [sys.executable, "-m", "doit", "-n", str(width), "-v", "0"])


def xdist(width: int, python: str, paths: list[str]) -> bool:
    """pytest-xdist, a test a script."""
    Path("list").write_text("\n".join(paths))
    Path("test_scripts.py").write_text(
        f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n"
        "import pytest, tools\n"
        "@pytest.mark.parametrize('path', open('list').read().split())\n"
        f"def test_script(path): assert tools.run({python!r}, path) == 0\n"
    )
    command = ["-m", "pytest", "-q", "-n", str(width), "-p", "no:cacheprovider", "test_scripts.py"]
    os.execv(sys.executable, [sys.executable, *command])


TOOLS = {tool.__name__: tool for tool in (threads, processes, joblib, distributed, luigi, doit, xdist)}


def main() -> None:
    """Exit code 0 when all scripts passed."""
    tool, width, python = sys.argv[1:]
    sys.exit(not TOOLS[tool](int(width), python, sys.stdin.read().split("\0")[:-1]))


if __name__ == "__main__":
    main()
