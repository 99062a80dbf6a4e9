package playbook

// ErrCrash ends the process, as far as a run can tell.
var ErrCrash = errCrash

// SetHook calls fn at every point between two writes.
func (s *Service) SetHook(fn func(point string) error) { s.hook = fn }
