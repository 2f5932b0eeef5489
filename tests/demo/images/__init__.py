"""`make demo-images`: real photos, a teacher and a student of timm, by curl, and the student back in timm."""
