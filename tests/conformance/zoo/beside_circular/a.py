import b
value = b.value
