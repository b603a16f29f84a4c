import json, sys
json.f = open("left1", "w"); json.f.write("held by json")
sys.f = open("left2", "w"); sys.f.write("held by sys")
