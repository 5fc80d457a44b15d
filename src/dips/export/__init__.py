"""What leaves DiPS: pictures, annotation files, the report."""
