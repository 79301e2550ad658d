"""Starting, checking, recovering, adopting and closing sessions."""
