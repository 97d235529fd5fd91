"""The parts of the student: the split U-Net, the h-space adapter, LoRA, and the file that holds them."""
