// Package costs tells what the processor time of a stretch of work was spent on: by a sample of its stacks, so that what is measured need not
// know of it and takes no longer. It claims nothing about single functions: a part of which there were n samples is known to about 1/√n.
package costs
