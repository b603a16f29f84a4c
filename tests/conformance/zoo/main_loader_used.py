print(__loader__.get_code("__main__").co_filename, __loader__.is_package("__main__"), __loader__.path)
print(__loader__.get_data(__file__)[:5], __loader__.exec_module)
