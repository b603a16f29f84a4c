import tempfile
print(len(tempfile.mktemp(dir=".")), next(tempfile._get_candidate_names()) != next(tempfile._get_candidate_names()))
