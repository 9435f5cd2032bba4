"""The t-test over seeds, until its callers import it from intervals."""

from rdl_cli.statistics.intervals import p_over_seeds as p_over_seeds
