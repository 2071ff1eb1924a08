"""TRAIN: data, models and the loop; imports torch only inside."""
