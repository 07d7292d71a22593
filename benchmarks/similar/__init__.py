"""What answers shared between similar pictures are worth."""
