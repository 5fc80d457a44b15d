"""The paper's rivals (Table 1), each in a file of its own on one base: :class:`~dips.baselines.method.ScoreMapMethod`."""
