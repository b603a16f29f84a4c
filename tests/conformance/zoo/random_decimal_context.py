import decimal
print(decimal.getcontext(), decimal.Decimal(1) / 3)
