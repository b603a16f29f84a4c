import uuid
print(uuid.uuid3(uuid.NAMESPACE_DNS, "x"), uuid.uuid4().version, uuid.uuid1().version)
