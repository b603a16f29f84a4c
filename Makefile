# Everything here is a script of scripts/; ARGS are handed on: make run ARGS="--jobs 4"

here = cd "$$(dirname -- "$(strip $(MAKEFILE_LIST))")" &&

.PHONY: run test lint types bench soak guards clean

run:
	@$(here) scripts/run.sh $(ARGS)

test:
	@$(here) scripts/test.sh $(ARGS)

lint:
	@$(here) scripts/lint.sh

types:
	@$(here) scripts/types.sh

bench:
	@$(here) scripts/bench.sh $(ARGS)

soak:
	@$(here) scripts/test.sh -m soak --timeout=0 $(ARGS)

guards:
	@$(here) scripts/guards.sh $(ARGS)

clean:
	@$(here) scripts/clean.sh
