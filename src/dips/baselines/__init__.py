"""The paper's rivals (Table 1), each in its own file, on one base: :class:`~dips.baselines.method.ScoreMapMethod`."""
