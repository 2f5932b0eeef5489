"""What a user gets who leaves every setting of training out."""
