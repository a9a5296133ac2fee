"""
Print unicode
=============

It prints what is not ASCII.
"""

print("naïve → ∀x ∈ ℝ: 日本語 🔥")

# %%
# Tabs and an empty line.

print("a\tb\n\n  c")
