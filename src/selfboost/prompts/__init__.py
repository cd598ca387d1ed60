"""New prompts: written from keywords by a generator or by self-instruct, separated from known ones, compared."""
