import fcntl
f = open("left", "w"); fcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(open("left2", "w"), fcntl.LOCK_EX)
print("locked")
