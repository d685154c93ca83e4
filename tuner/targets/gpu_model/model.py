"""The model that CUDA targets carry: occupancy, what an SM cannot hold, a predicted time."""

from collections.abc import Mapping

from tuner.core.artifact import Artifact
from tuner.core.operator import Operator
from tuner.core.target import Prediction, Target, TargetModel
from tuner.core.workload import Workload
from tuner.targets.gpu_model.analytic import predict_artifact
from tuner.targets.gpu_model.occupancy import artifact_problem, of_artifact, with_occupancy


class GpuModel(TargetModel):
    """See `occupancy` and `analytic`."""

    def metrics(self, artifact: Artifact, target: Target) -> dict[str, float]:
        """Adds the occupancy and what limits it: see `with_occupancy`."""
        return with_occupancy(artifact, target)

    def limiter(self, artifact: Artifact, target: Target) -> str:
        """The resource that limits the last kernel's occupancy; empty where its registers are unknown."""
        held = of_artifact(artifact, target)
        return held.limiter if held else ""

    def problem(self, artifact: Artifact, target: Target) -> str | None:
        """A limit of a block that is passed, registers that spill: see `resource_problem`."""
        return artifact_problem(artifact, target)

    def predict(
        self, operator: Operator, workload: Workload, artifact: Artifact, features: Mapping[str, float],
        target: Target,
    ) -> Prediction | None:  # fmt: skip
        """The analytic model's time: see `predict_artifact`; `None` for a library call: it has no launch."""
        if artifact.launch is None:
            return None
        return predict_artifact(operator, workload, artifact, features, target)
