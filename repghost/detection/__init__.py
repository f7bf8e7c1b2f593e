"""Object detection: RepGhostNet as the backbone of torchvision's RetinaNet and Mask R-CNN, on data in COCO's format."""
