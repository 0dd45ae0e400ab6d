// Package verify boots an image and says what it found.
//
// A Plan is the virtual machine that starts an image as its board would; it works on an Overlay, so
// that the image itself is opened for reading only. Check boots a Plan with a test seed and returns
// a Verdict: Milestones of the boot with their times, and Results of the checks that a script
// reported from inside. The script prints its results on the console as lines that begin with
// "@@EB " and hold a JSON object; a Console reads them, finds the milestones, and recognises boots
// that will never come up.
package verify
