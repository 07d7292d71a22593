"""Fused kernels for a module with learners on an accelerator, in Triton, and what they are tested
against in plain torch. Nothing here is imported where there is no accelerator."""
