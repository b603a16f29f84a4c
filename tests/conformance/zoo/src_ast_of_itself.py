import ast, tokenize
print(len(ast.parse(open(__file__).read()).body), next(tokenize.generate_tokens(open(__file__).readline)).string)
import symtable, dis
print(symtable.symtable("x=1", "s", "exec").get_symbols())
def f(): return 1
dis.dis(f)
