import time, os
print(time.tzname, time.timezone, time.localtime(0)[:6])
os.environ["TZ"] = "EST5EDT"; time.tzset(); print(time.tzname)
