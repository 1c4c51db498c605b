"""Django's own user, told apart by the address."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """The address is the user name too, so that the manager of Django makes accounts as it is."""

    email = models.EmailField(unique=True)
