"""New prompts: written from keywords by a generator or by self-instruct, told apart from known ones, compared."""
