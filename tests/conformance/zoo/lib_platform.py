import platform
print(platform.python_version(), platform.system(), platform.architecture()[0], platform.python_build()[0] != "")
