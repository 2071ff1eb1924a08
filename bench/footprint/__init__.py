"""LIFE CYCLE: what trainings cost in energy, emissions and money, published, planned and made.

The method is that of Strubell et al. 2019: mean power of a training, times its hours, times what
the building adds, times what the grid emits. Every number is a `Quantity` that can say its formula.
"""
