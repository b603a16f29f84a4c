print(exit, quit, copyright)
exit(11)
