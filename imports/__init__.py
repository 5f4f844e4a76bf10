"""A checked roster against what is stored: compared into a plan, which is applied all or nothing."""
