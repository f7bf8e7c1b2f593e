"""Sets of pictures with boxes in COCO's format: read, checked, augmented and put into batches; no detector."""
