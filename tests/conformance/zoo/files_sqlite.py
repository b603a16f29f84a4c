import sqlite3
c = sqlite3.connect("left.db"); c.execute("create table t (x)"); c.execute("insert into t values (1)")
print(c.execute("select * from t").fetchall(), c.in_transaction)
