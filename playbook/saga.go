package playbook

import "slices"

// StepState is where one step of a run stands.
type StepState string

// The states of a step.
const (
	StepPending   StepState = "pending"
	StepWaiting   StepState = "waiting"           // for a time
	StepAwaiting  StepState = "awaiting_approval" // for people
	StepRunning   StepState = "running"           // claimed: the effect may be there or not
	StepDone      StepState = "done"
	StepFailed    StepState = "failed"  // the effect is certainly not there
	StepUnknown   StepState = "unknown" // nobody could say whether the effect is there
	StepUndoing   StepState = "compensating"
	StepUndone    StepState = "compensated"
	StepRefused   StepState = "compensation_refused" // somebody changed it since, or it cannot be reached: people decide
	StepSkipped   StepState = "skipped"
	StepCancelled StepState = "cancelled"
)

// RunState is where a run stands.
type RunState string

// The states of a run.
const (
	RunShadow     RunState = "shadow" // wrote down what it would do
	RunRunning    RunState = "running"
	RunStopping   RunState = "stopping" // settles what is open, and takes back what was done when it is to
	RunSucceeded  RunState = "succeeded"
	RunExited     RunState = "exited" // the condition did not hold any more
	RunFailed     RunState = "failed"
	RunCancelled  RunState = "cancelled"
	RunRolledBack RunState = "rolled_back"
	RunIncomplete RunState = "rollback_incomplete" // something could not be taken back: people decide
)

var stepMoves = map[StepState][]StepState{
	StepPending:  {StepWaiting, StepAwaiting, StepRunning, StepDone, StepFailed, StepSkipped, StepCancelled},
	StepWaiting:  {StepDone, StepCancelled},
	StepAwaiting: {StepRunning, StepDone, StepFailed, StepCancelled},
	StepRunning:  {StepRunning, StepAwaiting, StepPending, StepDone, StepFailed, StepUnknown, StepCancelled},
	StepUnknown:  {StepRunning, StepUnknown, StepDone, StepFailed, StepCancelled, StepRefused},
	StepDone:     {StepUndoing, StepUndone, StepRefused},
	StepUndoing:  {StepUndoing, StepUndone, StepRefused},
}

func mayMove(from, to StepState) bool { return slices.Contains(stepMoves[from], to) }

// verb is what the engine does next with a run.
type verb string

const (
	doBegin  verb = "begin"  // a step starts
	doWake   verb = "wake"   // a wait may be over
	doAsk    verb = "ask"    // an approval may be decided
	doSettle verb = "settle" // an effect may be there
	doDrop   verb = "drop"   // an open step ends without effect
	doUndo   verb = "undo"
	doFinish verb = "finish"
	doStop   verb = "stop" // a step ended badly
)

// forward is the next thing to do in a running run. Steps go one after the other.
func forward(steps []StepState) (verb, int) {
	for i, s := range steps {
		switch s {
		case StepDone, StepSkipped:
		case StepPending:
			return doBegin, i
		case StepWaiting:
			return doWake, i
		case StepAwaiting:
			return doAsk, i
		case StepRunning, StepUnknown:
			return doSettle, i
		default:
			return doStop, i
		}
	}
	return doFinish, -1
}

// backward is the next thing to do in a stopping run: first everything open is
// settled, so that only what certainly happened is taken back, the last one first.
// undoable tells which steps can be.
func backward(steps []StepState, undo bool, undoable func(i int) bool) (verb, int) {
	for i, s := range steps {
		switch s {
		case StepRunning, StepUnknown:
			return doSettle, i
		case StepAwaiting, StepWaiting, StepPending:
			return doDrop, i
		}
	}
	if undo {
		for i := len(steps) - 1; i >= 0; i-- {
			if steps[i] == StepUndoing || steps[i] == StepDone && undoable(i) {
				return doUndo, i
			}
		}
	}
	return doFinish, -1
}

// ended is where a stopped run ends.
func ended(steps []StepState, undo bool, otherwise RunState) RunState {
	if !undo {
		return otherwise
	}
	switch {
	case slices.Contains(steps, StepRefused):
		return RunIncomplete
	case slices.Contains(steps, StepUndone):
		return RunRolledBack
	}
	return otherwise
}
