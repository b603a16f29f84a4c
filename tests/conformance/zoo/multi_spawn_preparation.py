from multiprocessing import spawn
import os
d = spawn.get_preparation_data("x")
print({k: v for k, v in d.items() if k not in ("authkey", "sys_path", "dir", "init_main_from_path")})
print(d["dir"] == os.getcwd(), d.get("init_main_from_path") == os.path.abspath(__file__), spawn.get_executable())
