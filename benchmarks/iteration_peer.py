"""One iteration as a script of a user who knows transformers and TRL well: `generate`, SFT, CPO and DPO trainers.

`python -m benchmarks.iteration_peer synpo|dnpo --folder FOLDER` reads task.json, which says what ours was given too,
and prints one line of JSON: seconds, tokens and rows of each step. Batches are as large as ours and sorted by length;
nothing is logged or saved but the policy. DPO has no noise here: TRL has none.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

QUESTION = re.compile(r"<question> (.+?) </question>")
Pairs = Sequence[tuple[str, str]]
"""(prompt, answer)"""


class Script:
    """The steps, each timed; what they share is the task and the tokenizer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.task: dict[str, Any] = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        self.tokenizer = cast(Any, AutoTokenizer.from_pretrained(folder / "model"))
        self.steps: dict[str, dict[str, float]] = {}

    def timed(self, name: str, work: Callable[[], Any], rows: int) -> Any:
        """Do one step."""
        self.tokens, begun = 0, time.perf_counter()
        found = work()
        seconds = time.perf_counter() - begun
        self.steps[name] = {"seconds": seconds, "rows": rows, "tokens": self.tokens}
        return found

    def initial(self, dtype: torch.dtype | None = None) -> Any:
        """The initial model, from its folder; to sample in the task's number type, unless another is named."""
        return AutoModelForCausalLM.from_pretrained(self.folder / "model", dtype=dtype or self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The number type of sampling and scoring."""
        return getattr(torch, self.task["dtype"])

    def ids(self, prompt: str, answer: str | None = None) -> list[int]:
        """Token ids of a conversation in the chat template."""
        messages = [{"role": "user", "content": prompt}]
        messages += [] if answer is None else [{"role": "assistant", "content": answer}]
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=answer is None, return_dict=False)

    @torch.no_grad()
    def sample(self, model: Any, asked: Sequence[str], temperature: float, limit: int) -> list[str]:
        """Answers by `generate`, in batches of similar length, padded on the left."""
        model.eval()
        drawn = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        answers = [""] * len(asked)
        for batch, ids in self._batches([self.ids(prompt) for prompt in asked], side="left"):
            made = model.generate(**ids, max_new_tokens=limit, **drawn)[:, ids["input_ids"].shape[1] :]
            self.tokens += int((made != self.tokenizer.pad_token_id).sum())
            for place, text in zip(batch, self.tokenizer.batch_decode(made, skip_special_tokens=True), strict=True):
                answers[place] = text.strip()
        return answers

    def drawn(self, name: str, model: Any, asked: Sequence[str], temperature: float, limit: int) -> list[str]:
        """The step that samples, timed."""
        return self.timed(name, lambda: self.sample(model, asked, temperature, limit), len(asked))

    @torch.no_grad()
    def scores(self, texts: Pairs) -> list[float]:
        """The reward head's score of each answer."""
        model = AutoModelForSequenceClassification.from_pretrained(self.folder / "reward", dtype=self.dtype).eval()
        found = [0.0] * len(texts)
        for batch, ids in self._batches([self.ids(*text) for text in texts], side="right"):
            self.tokens += int(ids["attention_mask"].sum())
            for place, score in zip(batch, model(**ids).logits[:, 0].tolist(), strict=True):
                found[place] = score
        return found

    def _batches(self, rows: Sequence[Sequence[int]], side: str) -> Any:
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        for at in range(0, len(order), self.task["rows"]):
            batch = order[at : at + self.task["rows"]]
            padded = {"input_ids": [rows[place] for place in batch]}
            yield batch, self.tokenizer.pad(padded, padding_side=side, return_tensors="pt")

    def sft(self, name: str, pairs: Pairs) -> Any:
        """The initial model, fine-tuned on the answers alone."""
        from trl import SFTConfig, SFTTrainer

        rows = [{"prompt": _user(prompt), "completion": _assistant(answer)} for prompt, answer in pairs]
        model = self.initial(torch.float32)
        config = SFTConfig(**self._training(name), completion_only_loss=True, max_length=512)
        given = {"model": model, "processing_class": self.tokenizer, "train_dataset": Dataset.from_list(rows)}
        SFTTrainer(args=config, **given).train()
        return model.to(self.dtype)

    def prefer(self, pairs: Sequence[tuple[str, str, str]]) -> None:
        """The policy, by CPO's trainer with SimPO's loss or by DPO's, saved."""
        from trl import DPOConfig, DPOTrainer
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        rows = [{"prompt": _user(p), "chosen": _assistant(w), "rejected": _assistant(loser)} for p, w, loser in pairs]
        model, loss = self.initial(torch.float32), self.task["loss"]
        given: dict[str, Any] = {"model": model, "train_dataset": Dataset.from_list(rows)}
        given["processing_class"] = self.tokenizer
        common = {**self._training("policy"), "max_length": 512}
        if loss["kind"] == "simpo":
            own = {"loss_type": "simpo", "simpo_gamma": loss["gamma"], "cpo_alpha": loss["nll_weight"]}
            trainer: Any = CPOTrainer(args=CPOConfig(beta=loss["beta"], **own, **common), **given)
        else:
            trainer = DPOTrainer(args=DPOConfig(beta=loss["beta"], precompute_ref_log_probs=True, **common), **given)
        trainer.train()
        model.save_pretrained(self.folder / "peer" / "policy")

    def _training(self, name: str) -> dict[str, Any]:
        wanted = self.task["training"][name]
        return {
            "output_dir": str(self.folder / "peer" / name),
            "per_device_train_batch_size": wanted["batch_size"],
            "learning_rate": wanted["learning_rate"],
            "num_train_epochs": wanted["epochs"],
            "lr_scheduler_type": wanted["schedule"],
            "optim": {"adamw": "adamw_torch_fused", "rmsprop": "rmsprop"}[wanted["optimizer"]],
            "bf16": self.dtype == torch.bfloat16,
            "gradient_checkpointing": False,
            "use_cpu": True,
            "dataloader_pin_memory": False,
            "logging_strategy": "no",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }

    def synpo(self) -> None:
        """Generator, prompts, improver, drafts, rewrites, initial answers, scores, SimPO."""
        task, seeds = self.task, self.task["seeds"]
        lists, limit = task["keyword_prompts"], task["max_tokens"]
        generator = self.timed("generator", lambda: self.sft("generator", task["examples"]), len(task["examples"]))
        texts = self.drawn("prompts", generator, lists, 0.7, task["prompt_tokens"])
        del generator
        known = {prompt for prompt, _ in seeds}
        questions = [found[1] for found in map(QUESTION.search, texts) if found]
        prompts = [prompt for prompt in dict.fromkeys(questions) if prompt not in known]
        initial = self.initial()
        asked = [prompt for prompt, _ in seeds]
        own = self.drawn("seed answers", initial, asked, 0.7, limit)
        rewrites = [(task["rewrite"].format(prompt=p, answer=a), gold) for (p, gold), a in zip(seeds, own, strict=True)]
        improver = self.timed("improver", lambda: self.sft("improver", rewrites), len(rewrites))
        drafts = self.drawn("drafts", initial, prompts, 0.7, limit)
        wanted = [task["rewrite"].format(prompt=p, answer=a) for p, a in zip(prompts, drafts, strict=True)]
        chosen = self.drawn("rewrites", improver, wanted, 0.0, limit)
        del improver
        rejected = self.drawn("initial answers", initial, prompts, 0.7, limit)
        del initial
        both = [*zip(prompts, chosen, strict=True), *zip(prompts, rejected, strict=True)]
        scores = self.timed("scores", lambda: self.scores(both), len(both))
        gaps = [one - other for one, other in zip(scores[: len(prompts)], scores[len(prompts) :], strict=True)]
        found = [(*row, gap) for *row, gap in zip(prompts, chosen, rejected, gaps, strict=True) if row[1] != row[2]]
        pairs = [tuple(row[:3]) for row in sorted(found, key=lambda row: -row[3])[: task["pairs"]]]
        self.timed("policy", lambda: self.prefer(cast(Any, pairs)), len(pairs))

    def dnpo(self) -> None:
        """Own answers to the seed's prompts, scores, labels, DPO."""
        seeds, limit = self.task["seeds"], self.task["max_tokens"]
        asked = [prompt for prompt, _ in seeds]
        initial = self.initial()
        own = self.drawn("own answers", initial, asked, 0.7, limit)
        del initial
        both = [*(tuple(seed) for seed in seeds), *zip(asked, own, strict=True)]
        scores = self.timed("scores", lambda: self.scores(both), len(both))
        pairs = [
            (prompt, gold, answer) if ours > theirs else (prompt, answer, gold)
            for (prompt, gold), answer, ours, theirs in zip(
                seeds, own, scores[: len(seeds)], scores[len(seeds) :], strict=True
            )
            if gold != answer
        ]
        self.timed("policy", lambda: self.prefer(pairs), len(pairs))


def _user(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def _assistant(answer: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": answer}]


def main() -> None:
    """Run and print; what libraries print goes to the error stream."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=("synpo", "dnpo"))
    parser.add_argument("--folder", type=Path, required=True, help="folder with task.json, model and reward")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    script = Script(arguments.folder)
    with redirect_stdout(sys.stderr):
        getattr(script, arguments.method)()
    print(json.dumps(script.steps))


if __name__ == "__main__":
    main()
