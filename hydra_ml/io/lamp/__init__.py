"""LaMP files: read, checked, downloaded, written."""
