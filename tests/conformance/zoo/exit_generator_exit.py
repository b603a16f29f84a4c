raise GeneratorExit("as an error")
