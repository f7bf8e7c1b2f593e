"""Object detection on RepGhostNet: SSDLite for boards, torchvision's RetinaNet and Mask R-CNN, and what boxes are."""
