"""`import_route`: trained models and labelled data become a route directory that a server serves.

Nothing is written before everything is checked, chosen and judged; what is written was loaded with
the server's own loader.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np

from cascades.answer_kinds import ONE_LABEL
from cascades.candidates import Candidate
from cascades.thresholds import MAX_STAGES
from core.devices.onnx import OnnxDevice
from core.manifest import FORMAT
from importing.building import Task, build_classifier, build_outputs, place_rows, prepare_stages
from importing.choosing import (
    Measured,
    Parts,
    check_answers,
    choose_route,
    find_other_files,
    grade_choice,
    judge,
    make_twin,
    quantise_outputs,
    run_stage,
)
from importing.energy import EnergySource, find_energy
from importing.label_sets import (
    LABEL_SETS,
    LABEL_SHARE,
    check_label_answers,
    describe_label_sets,
)
from importing.onnx_files.faults import ImportFault
from importing.onnx_files.graphs import Array, Tensor
from importing.options import ImportOptions, Stage, check_options, find_reference, name_stages
from importing.quantising import SUFFIX
from importing.samples import (
    Samples,
    check_samples,
    drop_repeated,
    fingerprint,
    read_samples,
    split_rows,
    take_rows,
)
from importing.stage_files import (
    IMAGE,
    INT8,
    PreparedModel,
    StageFile,
    describe_stage,
    describe_tensor,
)
from importing.timing import ROUNDS, Deadline, limit_batch, measure_costs, measure_in_turns
from importing.verdict import Verdict
from routes.loading import load_route
from routes.writing import write_version

TIMED_ROWS = 64
Data = str | tuple[Array, Array]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import found, and where the route is."""

    verdict: Verdict | None  # None: the model is no classifier, or nothing was compared
    directory: Path | None  # None: a dry run
    notes: tuple[str, ...]
    sentence: str


def import_route(
    name: str,
    stages: Sequence[Stage],
    data: Data,
    options: ImportOptions | None = None,
    report: Callable[[str], None] | None = None,
) -> Imported:
    """Import models as the next version of the route `name`, and return the verdict.

    `data` is a path as in --data, or rows [N, ...] with labels [N]. `report` gets one clause when a
    step begins. Raises ImportFault, one sentence; then nothing is written.
    """
    options, stages = options or ImportOptions(), list(stages)
    deadline = Deadline.after(options.minutes)
    check_options(name, stages, options)
    names = name_stages(stages)
    reference = find_reference(options, names)
    say = report or _say_nothing
    say("reading the models")
    models = prepare_stages(stages, names)
    say("reading the data")
    samples = _read(data, options)
    task, samples = place_rows(models, stages, samples, options)
    samples, repeated = drop_repeated(samples)
    task = replace(task, rows=samples.inputs)
    parts = Parts(*split_rows(samples, options.seed))
    made = _Import(name, stages, models, task, samples, parts, options, say, deadline)
    dropped = (f"{repeated} repeated rows were left out",) if repeated else ()
    notes = (*samples.notes, *dropped)
    if task.classes == 0:
        return made.import_outputs(notes)
    return made.import_classifiers(reference, notes)


def _say_nothing(clause: str) -> None:
    """Report no progress."""


def _read(data: Data, options: ImportOptions) -> Samples:
    if isinstance(data, tuple):
        rows, labels = (np.asarray(one) for one in data)
        samples = check_samples(Samples("the given rows", {"": rows}, (), labels, ()))
    else:
        samples = read_samples(data, options.seed)
    return replace(samples, names=options.labels) if options.labels else samples


@dataclass(frozen=True, slots=True)
class _Import:
    """One import, after its data has the route's form."""

    name: str
    stages: list[Stage]
    models: list[PreparedModel]
    task: Task
    samples: Samples
    parts: Parts
    options: ImportOptions
    report: Callable[[str], None]
    deadline: Deadline

    def import_classifiers(self, reference: str, notes: Sequence[str]) -> Imported:
        labels, parts, options = self.samples.labels, self.parts, self.options
        pool: dict[str, Measured] = {}
        several = self.task.several
        found = [*notes, *(describe_label_sets(self.samples) if several else ())]
        kind = LABEL_SETS if several else ONE_LABEL
        check = check_label_answers if several else check_answers
        choosing = take_rows(self.samples, parts.choose)
        for model, stage in zip(self.models, self.stages, strict=True):
            self.report(f"trying {model.name}")
            made, said = build_classifier(
                model, stage, self.task, (choosing.inputs, choosing.labels), options
            )
            found += [*said, *(f"{model.name}: {note}" for note in made.notes)]
            pool[model.name] = run_stage(made, self.task.rows)
            check(pool[model.name].logits, labels, str(model.source.path))
        if options.compress != "none":
            found += self._add_twins(pool)
        self.report("measuring the time of each")
        energy = find_energy()
        pool, hurried = self._measure(pool, energy)
        found += hurried
        max_stages = MAX_STAGES
        if self.deadline.passed and len(self.models) == MAX_STAGES:
            max_stages = MAX_STAGES - 1
            found.append(f"--minutes {options.minutes:g} have passed: no cascade of 3 was tried")
        self.report("choosing")
        chosen = choose_route(
            pool,
            labels,
            parts,
            reference=reference,
            max_loss=options.max_loss,
            only_int8=options.compress == "int8",
            max_stages=max_stages,
            kind=kind,
        )
        if several:
            share = grade_choice(pool, chosen, labels, parts.test, LABEL_SHARE)
            found.append(f"on the test rows, {share:.2%} of all labels are right with the choice")
        verdict = judge(
            pool,
            chosen,
            labels,
            parts,
            reference=reference,
            max_loss=options.max_loss,
            notes=found,
            kind=kind,
            energy=energy,
        )
        directory = None
        if not options.dry_run:
            self.report("writing the route")
            others: Sequence[StageFile | None] = [None] * len(chosen.members)
            if options.compress == "auto":
                others = find_other_files(pool, chosen, labels, parts, kind, options.max_loss)
            directory = self._write_classifier(pool, chosen, others, verdict)
        return Imported(verdict, directory, tuple(found), verdict.sentence)

    def import_outputs(self, notes: Sequence[str]) -> Imported:
        if len(self.models) > 1:
            raise ImportFault(
                f"--stage: {len(self.models)} given, but {self.models[0].source.path} is no "
                "classifier of these labels; a cascade needs classifiers, so give one stage"
            )
        (model,), (stage,) = self.models, self.stages
        made = build_outputs(model, stage, self.task, self.options, self.task.rows)
        if self.options.compress == "int8":
            made = quantise_outputs(made, self.task.rows, self.parts)
        found = (*notes, *made.notes)
        outputs = ", ".join(str(tensor) for tensor in made.outputs)
        sentence = (
            f"Serve {made.name} alone: its outputs are {outputs}. Its accuracy was not measured"
            f"{_explain_labels(self.samples)}."
        )
        directory = None
        if not self.options.dry_run:
            rows = {name: values[:TIMED_ROWS] for name, values in self.task.rows.items()}
            us_per_row = measure_in_turns({made.name: made}, rows)[made.name]
            directory = self._write_outputs(made, us_per_row)
        return Imported(None, directory, found, sentence)

    def _add_twins(self, pool: dict[str, Measured]) -> list[str]:
        """Add the int8 twins to the pool; return what stands in the way of others."""
        said = []
        for name in list(pool):
            self.report(f"quantising {name}")
            kind = LABEL_SETS if self.task.several else ONE_LABEL
            twin = make_twin(pool[name], self.task.rows, self.samples.labels, self.parts, kind)
            if isinstance(twin, str):
                said.append(twin)
            else:
                pool[name + SUFFIX] = twin
        if self.options.compress == "int8" and not any(
            one.stage.precision == INT8 for one in pool.values()
        ):
            raise ImportFault(
                f"--compress int8: there is no int8 file ({'; '.join(said)}); use --compress auto"
            )
        return said

    def _measure(
        self, pool: Mapping[str, Measured], energy: EnergySource
    ) -> tuple[dict[str, Measured], list[str]]:
        """Return the pool with the cost of each, and what to say where time was short."""
        rows = {name: values[:TIMED_ROWS] for name, values in self.task.rows.items()}
        costs = measure_costs(
            {name: one.stage for name, one in pool.items()},
            rows,
            read_j=energy.read_j,
            deadline=self.deadline,
        )
        measured = {}
        for name, one in pool.items():
            us, mj = costs[name].us, costs[name].mj
            mj = energy.estimate_mj(us) if mj is None else mj
            measured[name] = replace(one, us_per_row=us, mj_per_row=mj)
        rounds = min(cost.rounds for cost in costs.values())
        if rounds == ROUNDS:
            return measured, []
        minutes = self.options.minutes
        return measured, [
            f"--minutes {minutes:g} have passed: times are of {rounds} of {ROUNDS} rounds"
        ]

    def _write_classifier(
        self,
        pool: Mapping[str, Measured],
        chosen: Candidate,
        others: Sequence[StageFile | None],
        verdict: Verdict,
    ) -> Path:
        members = [pool[name] for name in chosen.members]
        thresholds = (*chosen.thresholds, None)
        entries = [
            describe_stage(one.stage, limit_batch(one.us_per_row, one.stage.batches), other)
            | {"temperature": temperature, "threshold": threshold}
            for one, other, temperature, threshold in zip(
                members, others, chosen.temperatures, thresholds, strict=True
            )
        ]
        shape = [-1, self.task.classes]
        pipeline, verb = "dual-cnn" if len(members) > 1 else "single", "classify"
        answer: dict[str, Any] = {"name": "label", "datatype": "INT64", "shape": [-1]}
        if self.task.several:
            pipeline, verb = "multi-label", "label"
            answer = {"name": "labels", "datatype": "BOOL", "shape": shape}
        table = self._describe(
            pipeline=pipeline,
            task=f"{verb}-{self.name}",
            description=f"{' → '.join(chosen.members)}, imported.",
            expected_macs=verdict.chosen.macs,
            outputs=[answer, {"name": "probabilities", "datatype": "FP32", "shape": shape}],
            stages=entries,
        )
        table["labels"] = list(self.samples.names)
        table["options"] = {"score": chosen.score, "combine": chosen.combine}
        table["provenance"] |= {
            "measure": verdict.measure.value,
            "test_accuracy": verdict.chosen.accuracy,
            "test_rows": verdict.test_rows,
            "choosing_rows": verdict.choosing_rows,
            "out_of_fold_accuracy": chosen.accuracy,
            "max_loss": self.options.max_loss,
            "reference": verdict.reference,
            "members": list(chosen.members),
            "reached_on_test": list(verdict.chosen.reached or (1.0,)),
            "us_per_row": [one.us_per_row for one in members],
        }
        return self._write(table, [*(one.stage for one in members), *filter(None, others)])

    def _write_outputs(self, made: StageFile, us_per_row: float) -> Path:
        table = self._describe(
            pipeline="model",
            task=self.name,
            description=f"{made.name}, with its own outputs.",
            expected_macs=made.macs,
            outputs=[describe_tensor(tensor) for tensor in made.outputs],
            stages=[describe_stage(made, limit_batch(us_per_row, made.batches))],
        )
        table["provenance"]["us_per_row"] = [us_per_row]
        return self._write(table, [made])

    def _describe(
        self,
        *,
        pipeline: str,
        task: str,
        description: str,
        expected_macs: float,
        outputs: list[dict[str, Any]],
        stages: list[dict[str, Any]],
    ) -> dict[str, Any]:
        canvas = self.task.canvas
        table: dict[str, Any] = {
            "format": FORMAT,
            "route": self.name,
            "version": "",
            "task": task,
            "pipeline": pipeline,
            "description": description,
            "certificate": "none",
            "expected_macs": round(expected_macs, 1),
            "inputs": [self._describe_input(tensor) for tensor in self.task.inputs],
            "outputs": outputs,
            "stages": stages,
            "provenance": self._describe_making(),
        }
        if canvas is not None:
            table["picture"] = {
                "input": IMAGE,
                "height": canvas.height,
                "width": canvas.width,
                "channels": canvas.channels,
            }
        return table

    def _describe_input(self, tensor: Tensor) -> dict[str, Any]:
        """Describe an input with the values that the models can take."""
        limits: dict[str, Any] = {}
        if tensor.datatype.startswith("FP"):
            limits = {"finite": True}
        elif tensor.name in self.task.vocabulary:
            limits = {"min": 0, "max": self.task.vocabulary[tensor.name] - 1}
        return describe_tensor(tensor) | limits

    def _describe_making(self) -> dict[str, Any]:
        packages = ("numpy", "onnx", "onnxruntime", "sparing")
        return {
            "recipe": "sparing import",
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "models": [model.source.path.name for model in self.models],
            "data": Path(self.samples.source.partition(",")[0]).name,
            "data_choosing": fingerprint(self.samples, self.parts.choose),
            "data_test": fingerprint(self.samples, self.parts.test),
            "seed": self.options.seed,
            **{package: package_version(package) for package in packages},
        }

    def _write(self, table: dict[str, Any], made: Sequence[StageFile]) -> Path:
        def fill(folder: Path, version: str) -> dict[str, Any]:
            for stage in made:
                (folder / f"{stage.name}.onnx").write_bytes(stage.raw)
            return {**table, "version": version}

        device = OnnxDevice()
        return write_version(
            self.options.out, self.name, fill, lambda folder: load_route(folder, device)
        )


def _explain_labels(samples: Samples) -> str:
    """Return what to do where floats seem to be classes, else nothing."""
    labels = samples.labels
    if labels.dtype.kind != "f" or labels.ndim != 1 or (labels != np.round(labels)).any():
        return ""
    return f": labels are {labels.dtype}; if they are classes, save them as int64"
