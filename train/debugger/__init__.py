"""The debugger: what happened in a training job, why, and what to do."""
